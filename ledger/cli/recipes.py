"""What a person can correct: the arguments of each correction, for ``ledger correct`` and ``ledger propose`` alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import frozen

if TYPE_CHECKING:
    from ledger.cli.options import Command


@frozen(kw_only=True)
class Recipe:
    """One correction: its name on the command line, and as it is recorded; its parameters and its help."""

    name: str
    what: str
    help: str
    parameters: tuple[Callable[..., Any], ...]


_POSITION: Final = click.argument("position_id", type=click.IntRange(min=1))

RECIPES: Final = (
    Recipe(
        name="add",
        what="add",
        help="Add a position that the broker has and the journal does not: id, symbol, side, lots, open price.",
        parameters=(
            _POSITION,
            click.argument("symbol"),
            click.argument("side", type=click.Choice(["buy", "sell"])),
            click.argument("volume"),
            click.argument("price_open"),
            click.option("--magic", type=int, metavar="N", help="The engine's number."),
        ),
    ),
    Recipe(
        name="close",
        what="close",
        help="Close a position that is gone. Its result stays unknown until its closing deal is recorded.",
        parameters=(_POSITION,),
    ),
    Recipe(
        name="update",
        what="update",
        help="Change side, volume, open price or magic number of an open position.",
        parameters=(
            _POSITION,
            click.option("--side", type=click.Choice(["buy", "sell"])),
            click.option("--volume", metavar="LOTS"),
            click.option("--price-open", metavar="PRICE"),
            click.option("--magic", type=int, metavar="N"),
        ),
    ),
    Recipe(
        name="balance",
        what="balance",
        help="Set balance or credit to what the broker states.",
        parameters=(
            click.option("--to", "balance", metavar="AMOUNT", help="What the balance is."),
            click.option("--credit", metavar="AMOUNT", help="What the credit is."),
        ),
    ),
    Recipe(
        name="withdraw",
        what="withdrawal",
        help="Record that the broker withdrew a deal: it counts as cancelled, its volume and its money are removed.",
        parameters=(click.argument("deal", type=click.IntRange(min=1)),),
    ),
    Recipe(
        name="accept",
        what="acceptance",
        help="""Accept what is unexplained of a position: a ghost result that no deal will explain. No money moves.

        The trade stays listed as incomplete. A deal that comes to light later counts all the same.""",
        parameters=(
            click.argument("position_id", type=click.IntRange(min=1), required=False),
            click.option("--symbol", metavar="NAME", help="Only of this symbol; needed where no position is known."),
        ),
    ),
)


def urgent_option(command: Command) -> Command:
    """Take ``--urgent``."""
    return click.option(
        "--urgent", is_flag=True, help="Emergency: apply it at once; it is reported until a second person confirms it."
    )(command)


def add_recipes(group: click.Group, run: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> None:
    """Add a command for each correction to a group.

    Args:
        group: Gets them.
        run: Called with the recipe, its arguments and what the options are.
        options: What each command takes beside the arguments of its recipe.
    """
    for recipe in RECIPES:
        group.command(recipe.name, help=recipe.help)(_command(recipe, run, options))


def _command(recipe: Recipe, run: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    def command(**given: Any) -> Any:
        arguments = {name: given.pop(name) for name in names}
        _require(recipe, arguments)
        return run(recipe, arguments, **given)

    for decorate in reversed(options):  # click lists first what is decorated last
        decorate(command)
    before = len(_parameters(command))
    for decorate in reversed(recipe.parameters):
        decorate(command)
    names = [str(one.name) for one in _parameters(command)[before:]]
    return command


def _parameters(command: Callable[..., Any]) -> list[click.Parameter]:
    found: list[click.Parameter] = getattr(command, "__click_params__", [])
    return found


def _require(recipe: Recipe, arguments: Mapping[str, Any]) -> None:
    if recipe.what == "acceptance" and arguments["position_id"] is None and arguments["symbol"] is None:
        raise click.UsageError("expected a position id, or --symbol where no position is known: ledger balance --json")
