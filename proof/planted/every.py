"""All planted bugs, in the order of the promises that they break."""

from importlib import import_module

from proof.planted import asking, collecting, guarding, keeping, live, planning, searching, sending, stopping
from proof.planted.bug import Bug
from proof.planted.promises import Promise

ROOMS = (sending, searching, asking, keeping, collecting, guarding, stopping, planning, live)

BUGS: tuple[Bug, ...] = tuple(
    sorted(
        (bug for room in ROOMS for bug in vars(room).values() if isinstance(bug, Bug)),
        key=lambda bug: list(Promise).index(bug.promise),
    )
)


def named(names: tuple[str, ...]) -> tuple[Bug, ...]:
    """Return the bugs of these names, or all of them for none; raise `KeyError` for a name that there is not."""
    by_name = {bug.name: bug for bug in BUGS}
    return tuple(by_name[name] for name in names) if names else BUGS


def find(text: str) -> Bug:
    """Return the bug of a name, or of an address (`module:function`); raise `KeyError` for one that there is not."""
    module, is_address, function = text.partition(":")
    if not is_address:
        return named((text,))[0]
    found = getattr(import_module(module), function, None)
    if not isinstance(found, Bug):
        raise KeyError(text)
    return found
