"""The type checker that tests switch on: beartype, for which an int will do where a float is asked.

A function whose annotations cannot be checked at run time is left as it is: one with `Self`, or with a
protocol that is not `@runtime_checkable`.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

CONF = BeartypeConf(is_pep484_tower=True)


def typechecked(checked: Callable[..., Any]) -> Callable[..., Any]:
    try:
        return beartype(checked, conf=CONF)
    except BeartypeDecorHintException:
        return checked
