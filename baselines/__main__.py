"""``python -m baselines`` is the command ``baselines``; until ``main`` runs nothing slow is imported."""

from competition.system.command_line import run_app


def main() -> None:
    """Entry point of ``baselines``: Ctrl-C is one line from the first import on."""
    run_app(_commands, "baselines")


def _commands() -> None:
    from baselines.cli import app

    app()


if __name__ == "__main__":
    main()
