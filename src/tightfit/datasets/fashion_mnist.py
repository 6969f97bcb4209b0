"""Fashion-MNIST from the Debian package dataset-fashion-mnist, checked against the sha256 of the canonical idx files."""
from __future__ import annotations
import gzip, subprocess, tempfile
from pathlib import Path
import numpy as np
from tightfit.datasets.mnist import build, load

SHA = {"train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}

def fetch():
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["apt-get", "-qq", "download", "dataset-fashion-mnist"], cwd=d, check=True, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", str(next(Path(d).glob("*.deb"))), d], check=True)
        out = {}
        for k in SHA:
            data = gzip.decompress((Path(d) / f"usr/share/datasets/fashion-mnist/{k}-idx{3 if 'images' in k else 1}-ubyte.gz").read_bytes())
            out[k] = np.frombuffer(data, np.uint8, offset=16 if "images" in k else 8).reshape((-1, 28, 28) if "images" in k else (-1,))
        return out

def fashion_mnist(name="fashion_mnist", title="", folder=None, cache=None, held_out=0, train_limit=None, test_limit=None):
    arrays, r = load("fashion_mnist", SHA, fetch, "Debian dataset-fashion-mnist", cache)
    return build(name, arrays, r, SHA, 0.2860, 0.3530, held_out, train_limit, test_limit)
