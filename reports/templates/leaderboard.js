// Sorts and filters the board. What is shown is written in the address after `#`, so that it can be
// shared and reloaded. Without this script the table is whole: nothing depends on it.
(function () {
  "use strict";
  var table = document.getElementById("board");
  var form = document.getElementById("filters");
  var status = document.getElementById("shown");
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var bodies = Array.prototype.slice.call(table.tBodies);
  var filters = ["suite", "shot", "kind", "backbone", "marks"];
  var given = bodies.map(function (body) { return rows(body); });

  function rows(body) {
    return Array.prototype.filter.call(body.rows, function (row) { return !row.classList.contains("head"); });
  }

  function state() { return new URLSearchParams(location.hash.slice(1)); }

  function go(change) {
    var next = state();
    Object.keys(change).forEach(function (key) {
      if (change[key]) { next.set(key, change[key]); } else { next.delete(key); }
    });
    location.replace("#" + next.toString());
  }

  function value(row, index) {
    var cell = row.cells[index];
    return cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
  }

  function compare(index, numeric, sign) {
    return function (a, b) {
      var x = value(a, index), y = value(b, index);
      if (numeric) {
        if (x === "" || y === "") { return (x === "") - (y === ""); }  // nothing measured stays last
        return sign * (parseFloat(x) - parseFloat(y));
      }
      return sign * x.localeCompare(y);
    };
  }

  function apply() {
    var wanted = state();
    var index = heads.findIndex(function (head) { return head.getAttribute("data-key") === wanted.get("sort"); });
    var order = wanted.get("order") === "ascending" ? "ascending" : "descending";
    heads.forEach(function (head, n) {
      if (n === index) { head.setAttribute("aria-sort", order); } else { head.removeAttribute("aria-sort"); }
      var hides = (wanted.get("suite") && head.dataset.suite && head.dataset.suite !== wanted.get("suite")) ||
        (wanted.get("shot") && head.dataset.shot && head.dataset.shot !== wanted.get("shot"));
      head.hidden = Boolean(hides);
    });
    var visible = 0, total = 0;
    bodies.forEach(function (body, n) {
      var sorted = given[n].slice();
      if (index >= 0) {
        sorted.sort(compare(index, heads[index].classList.contains("number"), order === "ascending" ? 1 : -1));
      }
      var some = false;
      sorted.forEach(function (row) {
        body.appendChild(row);
        var numbers = 0;
        Array.prototype.forEach.call(row.cells, function (cell, column) {
          cell.hidden = heads[column].hidden;
          if (!cell.hasAttribute("data-marks")) { return; }
          var marks = cell.getAttribute("data-marks").split(" ").filter(Boolean);
          var filter = wanted.get("marks");
          var out = filter === "none" ? marks.length > 0 : Boolean(filter) && marks.indexOf(filter) >= 0;
          cell.classList.toggle("out", out);
          cell.setAttribute("aria-hidden", String(out));
          if (cell.getAttribute("data-value") && !out && !cell.hidden) { numbers += 1; }
        });
        row.hidden = !numbers ||
          Boolean(wanted.get("kind") && row.dataset.kind !== wanted.get("kind")) ||
          Boolean(wanted.get("backbone") && row.dataset.backbone !== wanted.get("backbone"));
        total += 1;
        if (!row.hidden) { visible += 1; some = true; }
      });
      body.hidden = !some;
    });
    filters.forEach(function (name) { form.elements[name].value = wanted.get(name) || ""; });
    status.textContent = visible + " of " + total + " rows" + (index < 0 ? ", by name" :
      ", by " + heads[index].getAttribute("data-name") + ", " + order + ", within each setting");
  }

  heads.forEach(function (head) {
    if (!head.hasAttribute("data-key")) { return; }
    var place = head.querySelector(".sort");
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = place.textContent;
    button.addEventListener("click", function () {
      var first = head.classList.contains("number") ? "descending" : "ascending";
      var second = first === "descending" ? "ascending" : "descending";
      var current = head.getAttribute("aria-sort");
      // a third press gives the order of the names back
      go(current === second ? { sort: "", order: "" } :
        { sort: head.getAttribute("data-key"), order: current === first ? second : first });
    });
    place.textContent = "";
    place.appendChild(button);
  });
  form.addEventListener("change", function (event) {
    var change = {};
    change[event.target.name] = event.target.value;
    go(change);
  });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  document.getElementById("reset").addEventListener("click", function () { location.replace("#"); });
  window.addEventListener("hashchange", apply);
  form.hidden = false;
  apply();
})();
