#!/bin/sh
# Makes the environment in $1 from the pinned set of constraints.txt, or completes one that was left half-made.
# PY: the Python to build on. TORCH_INDEX_URL: the index torch comes from. Empty: both are chosen as below.
# EXTRAS: of pyproject.toml, with commas; unset: all that the tests need; empty: none.
set -eu

venv=$1
pinned_torch=$(sed -n 's/^torch==//p' constraints.txt)
torch_cpu_index=https://download.pytorch.org/whl/cpu

# The pinned set has wheels for these.
is_supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

# The range of pyproject.toml.
has_fitting_torch() {
    "$1" -c 'import sys, torch; sys.exit(not (2, 11) <= tuple(map(int, torch.__version__.split(".")[:2])) < (3, 0))' \
        2>/dev/null
}

# The first supported Python, but rather one that has torch already.
find_python() {
    found=
    for python in ${PY:-python3 python python3.13 python3.12 python3.11 python3.14}; do
        is_supported "$python" || continue
        if has_fitting_torch "$python"; then echo "$python"; return; fi
        found=${found:-$python}
    done
    echo "$found"
}

make_venv() {
    rm -f "$venv"/bin/python*       # links to a Python that is gone would be kept
    # Some distributions ship Python without ensurepip; its own pip then fills the new environment.
    "$1" -m venv "$venv" >/dev/null || {
        "$1" -m venv --without-pip "$venv"
        "$1" -m pip --python "$venv/bin/python" install -q pip
    }
}

# Puts the folders of $1's packages behind the environment's own, which win. Does what --system-site-packages does, and
# does it too where $1 belongs to a virtual environment itself.
share_packages() {
    echo "sharing the torch of $1 (pip may complain about packages beside it; that does no harm)"
    "$1" -c 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")' \
        >"$(shared_packages)"
}

shared_packages() { "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib") + "/shared.pth")'; }

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Without --no-deps only where the index has to supply what torch needs too; otherwise that comes pinned with the rest.
install_torch() {
    if [ -n "${TORCH_INDEX_URL:-}" ]; then
        pip install -q --index-url "$TORCH_INDEX_URL" "torch==$pinned_torch"
    elif nvidia-smi -L >/dev/null 2>&1 || [ "$(uname)" != Linux ]; then
        pip install -q --no-deps "torch==$pinned_torch"     # the usual build: with CUDA on Linux, for the CPU elsewhere
    # On Linux without CUDA the usual build would be several GB of CUDA for nothing. In order of cost: a wheel that pip
    # is told of by its own settings (find-links), the CPU build of PyTorch's index, and the usual build after all.
    elif pip install -q --no-deps --no-index "torch==$pinned_torch" 2>/dev/null; then
        return
    elif pip index versions torch --index-url $torch_cpu_index --timeout 5 --retries 0 2>/dev/null |
        grep -qF "$pinned_torch+cpu"; then
        pip install -q --no-deps --index-url $torch_cpu_index "torch==$pinned_torch+cpu"
    else
        echo "  $torch_cpu_index cannot be reached; taking the build of the usual index, which may be large"
        pip install -q --no-deps "torch==$pinned_torch"
    fi
}

python=$(find_python)
if [ -z "$python" ]; then
    echo "no Python 3.11 to 3.14 found (tried ${PY:-python3, python, python3.11 to python3.14});" \
        "install one, or name it: make setup PY=/path/to/python" >&2
    exit 1
fi
echo "making $venv with $python ($("$python" --version))"
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv "$python"
if ! has_fitting_torch "$venv/bin/python" && has_fitting_torch "$python"; then share_packages "$python"; fi
if ! has_fitting_torch "$venv/bin/python"; then
    echo "installing torch $pinned_torch"
    install_torch
fi
echo "installing the rest of the pinned set"
grep -v '^torch==' constraints.txt >"$venv/constraints.txt"     # the torch that is there stays
extras=${EXTRAS-dev,lm,fast,export,privacy,quantised,slurm,oracles}
pip install -q -c "$venv/constraints.txt" -e ".${extras:+[$extras]}"
# Among shared packages others may disagree with ours, or with each other, and do no harm.
[ -e "$(shared_packages)" ] || pip check
"$venv/bin/python" -c 'import torch; print("ready: torch", torch.__version__)'
