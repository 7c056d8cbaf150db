#!/bin/sh
# Install Spotalis and its pinned dependencies into FOLDER. The Dockerfile and tests/delivery/test_image.py run this
# script from the root of the repository:
#
#     sh build/docker/install.sh PYTHON FOLDER
#
# PYTHON creates FOLDER as a virtual environment without pip, and must remain at the same path when FOLDER is used.
# Dependencies are installed as wheels, by the hashes in requirements/. With SOURCE_DATE_EPOCH set, the same sources give
# the same bytes (byte code is compiled with unchecked hashes instead of timestamps).
set -eu
python=$1
folder=$2
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
pip="$tools/bin/pip --quiet --disable-pip-version-check"

"$python" -m venv "$tools"
$pip install --require-hashes --only-binary :all: -r requirements/build.txt
$pip wheel --no-deps --no-build-isolation --wheel-dir "$tools/wheels" .

"$python" -m venv --without-pip "$folder"
$pip --python "$folder/bin/python" install --no-compile --require-hashes --only-binary :all: -r requirements/runtime.txt
$pip --python "$folder/bin/python" install --no-compile --no-deps --no-index --find-links "$tools/wheels" spotalis
# -f: pip has imported `attr`, if present, and left byte code with the times of this installation.
"$folder/bin/python" -m compileall -q -f -j 0 --invalidation-mode unchecked-hash "$folder/lib"
