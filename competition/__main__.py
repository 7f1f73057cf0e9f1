"""``python -m competition`` is the command ``dogbreed``; until ``main`` runs nothing slow is imported."""

from competition.system.command_line import run_app


def main() -> None:
    """Entry point of ``dogbreed``: Ctrl-C is one line from the first import on."""
    run_app(_commands, "dogbreed")


def _commands() -> None:
    from competition.cli import app

    app()


if __name__ == "__main__":
    main()
