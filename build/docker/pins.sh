#!/bin/sh
# The digests of the images that a build uses, in pins.env:
#
#     sh build/docker/pins.sh renew    ask the registries with `docker buildx imagetools` and write pins.env
#     sh build/docker/pins.sh check    fail with a message if a digest is missing or malformed
set -eu
pins=${PINS:-$(dirname "$0")/pins.env}

# Variable and image. The tags decide what `renew` finds; builds use the digests only.
images="PYTHON_DIGEST python:3.13-slim
SBOM_SCANNER_DIGEST docker/buildkit-syft-scanner:stable-1
BUILDKIT_DIGEST moby/buildkit:buildx-stable-1"

renew() {
    new=$(mktemp)
    trap 'rm -f "$new"' EXIT
    echo "# Digests of the images that a build uses (build/docker/README.md). Written by \`make image-pins\`." >"$new"
    echo "$images" | while read -r name image; do
        digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
        echo "$name=$digest # $image" >>"$new"
    done
    PINS=$new sh "$0" check
    cat "$new" >"$pins"
}

check() {
    failed=0
    echo "$images" | {
        while read -r name image; do
            if ! grep -Eq "^$name=sha256:[0-9a-f]{64}( #.*)?\$" "$pins"; then
                echo "$pins: $name is not a digest of $image. Run \`make image-pins\` with access to its registry." >&2
                failed=1
            fi
        done
        exit $failed
    }
}

case ${1:-} in
renew | check) "$1" ;;
*) echo "usage: sh build/docker/pins.sh renew|check" >&2 && exit 2 ;;
esac
