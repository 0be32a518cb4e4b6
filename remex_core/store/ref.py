"""The kind `ref`: another store of the configuration, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.plugins.descriptors import Spec, StoreContext, StoreType
from remex_core.store.contract import BatchIO, LocalFiles

if TYPE_CHECKING:
    from remex_core.store.contract import Store


class RefSpec(Spec):
    """Options of the kind `ref`; `{ref: cas}` is short for `{ref: {name: cas}}`."""

    name: str


async def _build(spec: RefSpec, ctx: StoreContext) -> Store:
    """The very store of that name.

    Adds: that two places of a tree share one store, such as the CAS that clients use and the one
    that `completeness_checking` looks into. Assumes that the name exists and that following names
    leads back to no place already passed; both are checked before anything is built. Costs
    nothing: no object stands between. Its capabilities are those of the store it names.
    """
    return await ctx.ref(spec.name)


REF: Final = StoreType(
    name="ref",
    spec=RefSpec,
    build=_build,
    summary="another store of the configuration, by its name",
    forwards=frozenset({BatchIO, LocalFiles}),
    shared=True,
)
