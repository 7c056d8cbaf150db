#!/bin/sh
# Prints the first working Python interpreter of the given versions ("3.11"), or nothing.
# Searches the PATH, then the versions that pyenv has installed but not selected.
for version in "$@"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            command -v "$candidate"
            exit 0
        fi
    done
done
exit 0
