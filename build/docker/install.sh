#!/bin/sh
# Installs Spotalis into a folder of its own, with the pinned packages and nothing else: the steps of the image, which
# tests/delivery/test_image.py takes too. Run from the project's folder:
#
#     sh build/docker/install.sh PYTHON FOLDER
#
# PYTHON makes FOLDER, a virtual environment without pip; what runs FOLDER later must find PYTHON where it is now.
# Every package is a wheel whose hash requirements/ names. The same sources give the same bytes where
# SOURCE_DATE_EPOCH is set: byte code is checked by no date.
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
"$folder/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$folder/lib"
