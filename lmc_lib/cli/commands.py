"""The commands and their options."""

__all__ = ["main"]

import argparse
import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmc_lib import __version__
from lmc_lib.cli import completion, elsewhere, measuring, overview, skeleton, storing, tree, verdicts, working
from lmc_lib.cli.output import write_json
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import CHAPTERS, DefinitionError

_EXAMPLES = """\
examples:
  lmc list                                            claims, their verdicts, what a run costs
  lmc run weak-connectivity                           a claim at the quick scale
  lmc run weak-connectivity --help                    its parameters
  lmc run weak-connectivity -p width=32 -p seeds=3    with other parameters
  lmc open weak-connectivity                          its page in the book
  lmc align --help                                    two networks of your own, from files

exit codes:
  0    done
  1    refused or failed; the message on stderr ends with what to do
  2    wrong usage: an unknown command or option
  130  stopped by Ctrl-C; what is finished is stored
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code. Who calls it looks after Ctrl-C."""
    parser = _parser()
    completion.complete(parser)
    try:
        options = parser.parse_args(arguments)
        options.action(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough (`lmc list | head`). What is still buffered would fail again as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        advice = "\ncheck this path and who may write there, or name another one" if error.filename else ""
        sys.stderr.write(f"lmc: {error}{advice}\n")
        return 1
    except (Refused, DefinitionError) as error:
        sys.stderr.write(f"lmc: {error}\n")
        return 1
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("lmc_lib"):
            raise
        sys.stderr.write(
            f"lmc: this command needs {error.name}, which is not installed: pip install 'lmc-companion[book]' brings "
            "what notebooks need; the notebooks themselves stand in a copy of the repository\n"
        )
        return 1
    return 0


class _HelpOnClaim(argparse.Action):
    """``--help`` behind the name of a claim is about that claim, else about the command."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        del values, option_string
        if namespace.claim is None:
            parser.print_help()
        else:
            sys.stdout.write(overview.about(namespace.claim, parser.prog))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmc",
        description="Tests claims of papers about linear mode connectivity. Each is a notebook with three scales.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lmc {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (_add_list, _add_run, _add_open, _add_status, _add_work, _add_shared):
        add(commands)
    for add in (_add_judge, _add_verify, _add_audit, _add_store, _add_new, _add_align, _add_barrier):
        add(commands)
    return parser


def _add(
    commands: Any, name: str, action: Callable[[argparse.Namespace], None], says: str, *examples: str, **options: Any
) -> argparse.ArgumentParser:
    """Adds a command with a line for the list of commands, and examples for its own help.

    Its name is that behind ``lmc``: of a command within another one, ``"store check"``, both.
    """
    found: argparse.ArgumentParser = commands.add_parser(
        name.split()[-1],
        help=says,
        description=f"{says[0].upper()}{says[1:]}.",
        epilog="\n".join(["examples:", *(f"  lmc {name} {each}".rstrip() for each in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    found.set_defaults(action=action)
    return found


def _add_list(commands: Any) -> None:
    listing = _add(
        commands, "list", _list, "list the claims by part of the book, with verdicts and costs", "", "--json"
    )
    _takes_json(listing, "a list of claims with `chapter`, `title`, `brief` and, by scale, `verdict`, `scope`, `cost`")


def _add_run(commands: Any) -> None:
    examples = (
        "weak-connectivity",
        "weak-connectivity --help",
        "weak-connectivity --profile laptop",
        "weak-connectivity -p width=32 -p training.lr=0.02",
        "weak-connectivity --profile paper --on slurm --partition gpu --gpus-per-node 4 --max-nodes 8",
    )
    running = _add(commands, "run", measuring.run, "run a claim's notebook", *examples, add_help=False)
    _takes_parameters(running)
    running.add_argument("--out", type=Path, default=Path("results"), help="folder of the results (default: results)")
    running.add_argument("--workers", type=int, help="processes (default: all cores)")
    elsewhere.add_options(running)
    running.add_argument("--recompute", action="store_true", help="compute also what is stored")
    running.add_argument("--same-code", action="store_true", help="compute also what is stored and other code has made")
    running.add_argument("--records", action="store_true", help="keep the measurements in records/ for the book")
    running.add_argument("--allow-dirty", action="store_true", help="keep records of code that is not committed")


def _add_open(commands: Any) -> None:
    examples = ("", "weak-connectivity", "weak-connectivity --scale quick --print")
    opening = _add(commands, "open", _open, "open a page of the built book in the browser", *examples)
    _takes_claim(opening, nargs="?", more="; the first page if left out")
    opening.add_argument("--scale", choices=("quick", "laptop"), help="page of this scale (default: the largest)")
    opening.add_argument("--print", action="store_true", help="print the path of the page, open nothing")


def _add_status(commands: Any) -> None:
    says = "say what is stored, what is missing, and what becomes of it: what is computed, what failed, the time left"
    examples = (
        "weak-connectivity --profile laptop",
        "weak-connectivity --watch",
        "weak-connectivity -p seeds=9 --json",
    )
    asking = _add(commands, "status", measuring.status, says, *examples, add_help=False)
    _takes_parameters(asking)
    asking.add_argument(
        "--watch", type=float, nargs="?", const=60.0, metavar="SECONDS",
        help="say it again every so often until nothing is missing (default: 60)",
    )  # fmt: skip
    _takes_json(asking, "the `kinds` of results, with number and cost, the cost of what is `left`, and the state `now`")


def _add_work(commands: Any) -> None:
    says = "compute what is missing beside others that do the same, such as a job array; draw no figures"
    examples = ("weak-connectivity --profile laptop", "weak-connectivity --profile paper --workers 1")
    working_ = _add(commands, "work", working.work, says, *examples, add_help=False)
    _takes_parameters(working_)
    working_.add_argument("--workers", type=int, help="processes (default: all cores)")
    elsewhere.add_options(working_)
    _takes_json(
        working_,
        "how many results were `missing`, `computed` here, by `others`, `untried`, and a list of those `failed`",
    )


def _add_shared(commands: Any) -> None:
    says = "say which networks and measurements several claims need"
    sharing = _add(commands, "shared", measuring.shared, says, "--profile laptop", "--json")
    _takes_profile(sharing)
    _takes_json(
        sharing, "the `kinds` of results that several `claims` need, and how many of all `results` are `shared`"
    )


def _add_judge(commands: Any) -> None:
    says = "make the verdicts again from the records alone, by the rules as they are"
    judging = _add(commands, "judge", verdicts.judge, says, "weak-connectivity", "--all --json")
    _takes_claims(judging)
    _takes_json(judging, "a list with `claim`, `scale`, `verdict` and the `changes` to the stored report")


def _add_verify(commands: Any) -> None:
    says = "compute a random sample of the records anew and compare"
    verifying = _add(commands, "verify", working.verify, says, "--all", "weak-connectivity --sample 20 --seed 1")
    _takes_claims(verifying)
    _takes_profile(verifying)
    verifying.add_argument("--sample", type=int, default=5, metavar="N", help="number of records (default: 5)")
    verifying.add_argument("--seed", type=int, default=0, help="which ones are drawn (default: 0)")
    verifying.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    _takes_json(
        verifying, "a list with `claim`, `scale`, `key`, `spec`, what it was compared `by`, `differences`, `problem`"
    )


def _add_audit(commands: Any) -> None:
    says = "say how often the rules err, on simulated studies"
    auditing = _add(commands, "audit", verdicts.audit, says, "weak-connectivity", "--all --json book/audit.json")
    _takes_claims(auditing)
    auditing.add_argument("--draws", type=int, default=500, help="simulated studies of each kind (default: 500)")
    auditing.add_argument(
        "--json", type=Path, metavar="FILE", help="file of the rows; those that nothing changed are taken from it"
    )


def _add_store(commands: Any) -> None:
    says = "look after what is stored: check, prune, export, import"
    storing_ = _add(commands, "store", storing.check, says, "check", "export weak-connectivity results.tar")
    within = storing_.add_subparsers(required=True, metavar="COMMAND", title="commands")

    says = "read all entries to their end; set aside what is damaged"
    checking = _add(within, "store check", storing.check, says, "", "--json")
    _takes_json(checking, "how many `entries` there are, and a list of those that are `damaged`")

    says = "say what no claim and no guide asks for and was not written today; asking all notebooks takes minutes"
    pruning = _add(within, "store prune", storing.prune, says, "", "--delete")
    pruning.add_argument("--delete", action="store_true", help="remove it, also results of other values (-p)")
    _takes_json(pruning, "the `kinds` of what can go, with `count` and `bytes`, and whether it was `deleted`")

    says = "write what is stored of a claim's results to one file"
    examples = ("weak-connectivity results.tar", "weak-connectivity results.tar --profile laptop")
    exporting = _add(within, "store export", storing.export, says, *examples, add_help=False)
    _takes_parameters(exporting)
    exporting.add_argument("file", metavar="FILE", type=Path, help="the file; one that is there is replaced")
    _takes_json(exporting, "the `file`, how many `entries` are in it, how many are `missing`, and its `bytes`")

    says = "take the results in such a file into the store, once all are checked"
    taking = _add(within, "store import", storing.take, says, "results.tar", "results.tar --json")
    taking.add_argument("file", metavar="FILE", type=Path, help="a file that lmc store export wrote")
    _takes_json(taking, "how many `entries` the file has, and how many were `taken`, since they were not there")


def _add_new(commands: Any) -> None:
    says = "write the skeleton of a claim: its notebook and its file"
    examples = ("residual-width", "late-noise --chapter 'The butterfly effect'")
    beginning = _add(commands, "new", _new, says, *examples)
    beginning.add_argument("claim", metavar="CLAIM", help="its name: lower-case words with hyphens between them")
    beginning.add_argument("--chapter", choices=CHAPTERS, default=CHAPTERS[0], help=f"default: {CHAPTERS[0]}")


def _add_align(commands: Any) -> None:
    says = "bring the second of two files of weights to the first, by a permutation of its units"
    of_vision = "a.pt b.pt --model torchvision.models:resnet18 --example 1,3,64,64"
    examples = (f"{of_vision} -o b2.safetensors", f"{of_vision} --data test.npz --html report.html -o b2.safetensors")
    aligning = _add(commands, "align", _align, says, *examples)
    aligning.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="the file, safetensors")
    aligning.add_argument(
        "--example", metavar="SHAPE|FILE",
        help="inputs with which the network is traced: 1,3,224,224, .npy or .safetensors (default: two of --data)",
    )  # fmt: skip
    aligning.add_argument(
        "--by", choices=("weights", "activations"), default="weights", help="what is compared (default: weights)"
    )
    _takes_two_files(aligning)


def _add_barrier(commands: Any) -> None:
    says = "evaluate the straight line between two files of weights"
    walking = _add(commands, "barrier", _barrier, says, "a.pt b.pt --model torchvision.models:resnet18 --data test.npz")
    _takes_two_files(walking, data=True)


def _takes_two_files(parser: argparse.ArgumentParser, *, data: bool = False) -> None:
    for name, which in (("a", "first"), ("b", "second")):
        says = f"weights of the {which} network: .safetensors, or a state_dict() of torch.save"
        parser.add_argument(name, type=Path, metavar=name.upper(), help=says)
    parser.add_argument("--model", required=True, metavar="MODULE:FACTORY", help="what makes the network")
    parser.add_argument("--model-args", metavar="JSON", help="its arguments, such as '{\"num_classes\": 10}'")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="entries that do not count, such as 'fc.*'"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", required=data, help="examples: .npz or .safetensors of inputs and labels"
    )
    parser.add_argument("--points", type=int, default=25, help="points of a line (default: 25)")
    parser.add_argument("--device", default="cpu", help="where the networks run, such as cuda (default: cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as a page with the curves too")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def _takes_claim(parser: Any, *, more: str = "", **options: Any) -> None:
    claim = parser.add_argument("claim", metavar="CLAIM", help=f"name of the claim, as in `lmc list`{more}", **options)
    claim.completer = completion.claims


def _takes_claims(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    _takes_claim(which, nargs="?")
    which.add_argument("--all", action="store_true", help="every claim with records")


def _takes_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=tree.PROFILES, default="quick", help="scale of the run (default: quick)")


def _takes_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-h", "--help", action=_HelpOnClaim, nargs=0, default=argparse.SUPPRESS, dest=argparse.SUPPRESS,
        help="show this help; behind CLAIM, the claim and its parameters",
    )  # fmt: skip
    _takes_claim(parser)
    _takes_profile(parser)
    override: Any = parser.add_argument(
        "-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE",
        help="a parameter; NAME.KEY=VALUE for an entry of a dictionary",
    )  # fmt: skip
    override.completer = completion.overrides


def _takes_json(parser: argparse.ArgumentParser, content: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"write JSON: {content}")


def _list(options: argparse.Namespace) -> None:
    claims = overview.listed()
    if not claims:
        raise Refused("there are no claims here: they stand in `notebooks/` of a copy of the repository")
    if options.json:
        write_json(claims)
    else:
        sys.stdout.write("\n".join(overview.table(claims)) + "\n")


def _open(options: argparse.Namespace) -> None:
    page = overview.page(options.claim, options.scale)
    if options.print:
        sys.stdout.write(f"{page}\n")
    elif not webbrowser.open(page.as_uri()):
        raise Refused(f"no browser was found: open {page} yourself, or give --print to see its path alone")


def _align(options: argparse.Namespace) -> None:
    from lmc_lib.cli import aligning  # noqa: PLC0415 -- loads torch

    aligning.align(options)


def _barrier(options: argparse.Namespace) -> None:
    from lmc_lib.cli import aligning  # noqa: PLC0415 -- loads torch

    aligning.barrier(options)


def _new(options: argparse.Namespace) -> None:
    written = skeleton.write(options.claim, options.chapter)
    sys.stdout.write("\n".join(skeleton.told(options.claim, written)) + "\n")
