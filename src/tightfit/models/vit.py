"""A small vision transformer: 305,034 parameters for ten classes, six blocks of width 64 on 49 patches of 4 × 4 pixels.

Pre-norm blocks and a class token, as in ViT (Dosovitskiy et al., 2021) and DeiT. A block may drop the patches that the
class token heeds least, before its MLP; all later blocks then have fewer tokens. Which blocks do is said by an adapter.

Shapes: b images, h heads, n tokens (the class token first), c channels of a token.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tightfit.memory.table import LayerRow
from tightfit.models.base import Traits
from tightfit.numerics.seeds import derive

SIDE = 28  # pixels of an image, one channel
PATCH = 4  # pixels of a patch's side
MLP_RATIO = 4
INITIAL_STD = 0.02
FLOAT_BYTES = 4


class Patches(nn.Module):
    """(b, 1, 28, 28) to (b, n − 1, 16)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))
        return rows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class Positions(nn.Module):
    """Puts the class token before the patches, and adds to each token what its place is."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(1, 1, width).normal_(std=INITIAL_STD))
        self.places = nn.Parameter(torch.empty(1, patches + 1, width).normal_(std=INITIAL_STD))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.first.expand(len(patches), -1, -1), patches], dim=1) + self.places


class Scores(nn.Module):
    """q kᵀ / √(c / h): queries and keys (b, h, n, c / h) to (b, h, n, n)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._width, self._heads = width, heads

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`. positions: h · n."""
        tokens = positions // self._heads
        return [product_row(name, "Scores", block, tokens * self._width, positions * tokens, self._width * tokens**2)]

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return (queries @ keys.mT).mul_(queries.shape[-1] ** -0.5)


class Mix(nn.Module):
    """Attention (b, h, n, n) and values (b, h, n, c / h) to (b, n, c)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._width, self._heads = width, heads

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """See `HasRows`. positions: h · n."""
        tokens = positions // self._heads
        return [product_row(name, "Mix", block, positions * tokens, tokens * self._width, self._width * tokens**2)]

    def forward(self, attention: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return (attention @ values).transpose(1, 2).flatten(2)


def product_row(name: str, kind: str, block: str, inputs: int, outputs: int, products: int) -> LayerRow:
    """Of a product of two activations, which has operations and no weights."""
    return LayerRow(name, kind, 0, outputs, FLOAT_BYTES, inputs, operations=2 * products, operands=2, block=block)


class Sum(nn.Module):
    """Of a residual."""

    def forward(self, before: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        return before + change


class Attention(nn.Module):
    """(b, n, c) to the same, and the attention (b, h, n, n)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.scores = Scores(width, heads)
        self.softmax = nn.Softmax(dim=-1)
        self.mix = Mix(width, heads)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        attention = self.softmax(self.scores(queries, keys))
        return self.project(self.mix(attention, values)), attention


class Keep(nn.Module):
    """Of p patches keeps the ⌈share · p⌉ that the class token heeds most, on average over heads, in that order.

    The others become one token, their sum weighted by that attention (not renormalised). Where all are kept, nothing
    is changed. Source: EViT (Liang et al., 2022), evit.py.
    """

    share = 1.0

    def forward(self, tokens: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        patches = tokens.shape[1] - 1
        some = math.ceil(self.share * patches)
        if some == patches:
            return tokens
        heeded = attention[:, :, 0, 1:].mean(dim=1)  # (b, p)
        order = heeded.argsort(dim=1, descending=True, stable=True)
        ranked = tokens[:, 1:].gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))
        fused = heeded.gather(1, order[:, some:])[:, None] @ ranked[:, some:]  # (b, 1, c)
        return torch.cat([tokens[:, :1], ranked[:, :some], fused], dim=1)


class Block(nn.Module):
    """(b, n, c) to the same, or to fewer tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.sum1 = Sum()
        self.keep = Keep()
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(MLP_RATIO * width, width)
        self.sum2 = Sum()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        change, attention = self.attention(self.norm1(tokens))
        tokens = self.keep(self.sum1(tokens, change), attention)
        return self.sum2(tokens, self.fc2(self.gelu(self.fc1(self.norm2(tokens)))))


class Embed(nn.Module):
    """Images (b, 1, 28, 28) to tokens (b, n, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = Patches()
        self.project = nn.Linear(PATCH * PATCH, width)
        self.positions = Positions((SIDE // PATCH) ** 2, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.positions(self.project(self.patches(images)))


class Head(nn.Module):
    """The class token of (b, n, c) to logits (b, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classify(self.norm(tokens[:, 0]))


def blocks_of_vit(model: nn.Module) -> dict[str, str]:
    """`embed`, `blocks.0` and so on, and `head`."""
    found = {}
    for name, _ in model.named_modules():
        first, _, rest = name.partition(".")
        found[name] = ".".join([first, rest.partition(".")[0]]) if first == "blocks" and rest else first
    return found


class VisionTransformer(nn.Module):
    """Images (b, 1, 28, 28) to logits (b, classes)."""

    traits = Traits(blocks=blocks_of_vit)

    def __init__(self, classes: int = 10, width: int = 64, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.embed = Embed(width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.head = Head(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
                nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(images)))


def vit_tiny(classes: int, seed: int, width: int = 64, depth: int = 6, heads: int = 4) -> VisionTransformer:
    """A freshly initialised transformer; the same weights for the same seed whatever ran before.

    width: channels of a token; depth: blocks; heads: of each attention. Raises ValueError where they cannot be.
    """
    for name, count in (("width", width), ("depth", depth), ("heads", heads)):
        if count < 1:
            raise ValueError(f"model.{name}={count} but a transformer has at least one; choose 1 or more")
    if width % heads:
        raise ValueError(f"model.width={width} is no multiple of model.heads={heads}; choose one that is")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return VisionTransformer(classes, width, depth, heads)
