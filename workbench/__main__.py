"""``python -m workbench``."""

from .cli.commands import main

main()
