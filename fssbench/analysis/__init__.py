"""From stored runs to tables and figures."""
