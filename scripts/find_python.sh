#!/bin/sh
# Prints a Python interpreter that runs, of one of the versions named ("3.11"), the first that is there; else nothing.
# Looks on the PATH, then where pyenv keeps versions that are installed but not selected.
for version in "$@"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            command -v "$candidate"
            exit 0
        fi
    done
done
exit 0
