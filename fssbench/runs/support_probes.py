"""Episodes of a run that were predicted again with supports of another class (`fssbench run --sensitivity N`).

probes.jsonl    one line per episode: which supports were shown, counts against the truth and against the first
                answer, a crc32
"""

from __future__ import annotations

from fssbench.contracts.support_probes import SupportProbe
from fssbench.files.append_log import unseal
from fssbench.runs.probe_log import ProbeLog, require_counts

FILE = "probes.jsonl"


def _parse(line: bytes) -> SupportProbe:
    """Read a line without its newline.

    Raises:
        ValueError: if the line is damaged.
    """
    data = unseal(line)
    (i_b, i_f), (u_b, u_f) = data["inter"], data["union"]
    require_counts(*(data[name] for name in ("index", "class_id", "same", "either")), i_b, i_f, u_b, u_f)
    texts = data["supports"]
    if type(data["inverted"]) is not bool:
        raise ValueError(f"inverted is {data['inverted']!r}, not true or false")
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError(f"its supports are {texts!r}, not a list of texts")
    return SupportProbe(
        index=data["index"],
        class_id=data["class_id"],
        inverted=data["inverted"],
        supports=tuple(texts),
        inter=(i_b, i_f),
        union=(u_b, u_f),
        same=data["same"],
        either=data["either"],
    )


SUPPORT_PROBES = ProbeLog(
    FILE,
    _parse,
    command="the command again with --sensitivity",
    hint="Next: free space, or run without --sensitivity",
)
