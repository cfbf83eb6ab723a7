#!/usr/bin/env bash
# The tests of acceleration and training with the lowest versions that pyproject.toml names; needs the network.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
source "$work/venv/bin/activate"
export KERAS_HOME="$work/keras" PIP_DISABLE_PIP_VERSION_CHECK=1

python - > "$work/lowest.txt" <<'END'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
tools = [tool for tool in project["optional-dependencies"]["test"] if not tool.startswith("kcnn[")]
print(*(need.replace(">=", "==") for need in project["dependencies"] + tools), sep="\n")
END
cat "$work/lowest.txt"
pip install -q -r "$work/lowest.txt"
pip install -q --no-deps -e .
pytest tests/native tests/training -m "not slow"
