"""All planted bugs."""

from proof.mutants.asking import ASKING
from proof.mutants.collecting import COLLECTING
from proof.mutants.guarding import GUARDING
from proof.mutants.keeping import KEEPING
from proof.mutants.mutant import Mutant
from proof.mutants.searching import SEARCHING
from proof.mutants.sending import SENDING
from proof.mutants.stopping import STOPPING

MUTANTS: tuple[Mutant, ...] = (*SENDING, *SEARCHING, *COLLECTING, *ASKING, *KEEPING, *GUARDING, *STOPPING)


def named(names: tuple[str, ...]) -> tuple[Mutant, ...]:
    """Return the bugs of these names, or all of them for none; raise `KeyError` for a name that there is not."""
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    return tuple(by_name[name] for name in names) if names else MUTANTS
