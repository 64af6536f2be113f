"""What checks types and shapes while the tests run (setup.cfg names it)."""

from beartype import BeartypeConf, beartype

# An int is a float, as for every static type checker (PEP 484).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
