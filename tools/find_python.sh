#!/bin/sh
# Prints a Python of 3.10 or later to start the set-up with: $PYTHON if it is set, else the first
# that fits. Any such Python will do here; the environment itself gets Python 3.11.
fits='import sys; sys.exit(sys.version_info < (3, 10))'
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.11 python3.12 python3.13 python3.14 python3.10
fi
for candidate do
    if "$candidate" -c "$fits" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done
if [ -n "${PYTHON:-}" ]; then
    echo "Set-up: PYTHON=$PYTHON is not a Python 3.10 or later: $("$PYTHON" --version 2>&1)" >&2
    echo "  Name another one (make PYTHON=/path/to/python3), or leave PYTHON out." >&2
else
    echo "Set-up: no Python 3.10 or later on the PATH. python3 says: $(python3 --version 2>&1)" >&2
    echo "  Install one (python.org, pyenv, or your system's packages) and run make again," >&2
    echo "  or name it: make PYTHON=/path/to/python3.11" >&2
fi
exit 2
