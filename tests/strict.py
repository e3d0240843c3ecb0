"""The type checker that tests switch on: beartype, for which an int will do where a float is asked."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
