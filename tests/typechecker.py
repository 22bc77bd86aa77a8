"""beartype with the numeric tower of PEP 484: an int is a float, as people write it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
