"""``spotalis completion``: completion scripts of shells, and what they call."""

from __future__ import annotations

import argparse

from spotalis.cli.errors import usage_error

DESCRIPTION = """\
Print the completion script of a shell. kubectl completes the plugin by itself
if kubectl_complete-spotalis is on the PATH.

Examples:
  source <(spotalis completion bash)
  spotalis completion zsh > "${fpath[1]}/_spotalis"
  spotalis completion fish > ~/.config/fish/completions/spotalis.fish"""

SCRIPTS = {
    "bash": """\
_spotalis() {
  local IFS=$'\\n' words=("${COMP_WORDS[@]:1:COMP_CWORD}")
  COMPREPLY=($(kubectl_complete-spotalis "${words[@]}" 2>/dev/null | grep -v '^:'))
}
complete -o default -F _spotalis spotalis
""",
    "zsh": """\
#compdef spotalis
_spotalis() {
  local -a before=("${words[@]:1:$((CURRENT - 1))}")
  compadd -- ${(f)"$(kubectl_complete-spotalis $before 2>/dev/null | grep -v '^:')"}
}
compdef _spotalis spotalis
""",
    "fish": """\
function __spotalis_complete
  set -l words (commandline -opc) (commandline -ct)
  kubectl_complete-spotalis $words[2..-1] 2>/dev/null | string match -v ':*'
end
complete -c spotalis -f -a '(__spotalis_complete)'
""",
}
"""Each calls ``kubectl_complete-spotalis`` with the words after the program's name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", nargs="?", metavar="SHELL", help=f"{', '.join(SCRIPTS)}.")


def run(arguments: argparse.Namespace) -> None:
    """Print the script.

    Raises:
        CommandError: the shell is not supported.
    """
    if arguments.shell not in SCRIPTS:
        raise usage_error(f"name a shell: {', '.join(SCRIPTS)}", "spotalis completion bash")
    print(SCRIPTS[arguments.shell], end="")
