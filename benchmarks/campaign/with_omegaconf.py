"""Resolve every YAML file of a folder with OmegaConf and write each as YAML: `with_omegaconf.py FROM TO chain|once`.

`chain` loads all files of a spec's chain for it; `once` loads each file once and keeps what it came to.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def main(source: Path, target: Path, how: str) -> None:
    """Resolve and write all of them."""
    kept: dict[str, DictConfig] = {}
    for path in sorted(source.glob("*.yaml")):
        if how == "chain":
            resolved = chain(source, path.stem)
        else:
            loaded = load(path)
            parent = loaded.pop("extends", None)
            resolved = kept[path.stem] = loaded if parent is None else merged(kept[parent], loaded)
        (target / path.name).write_text(OmegaConf.to_yaml(resolved, resolve=True))


def chain(source: Path, name: str | None) -> DictConfig:
    """One spec: its chain loaded from its end to its root, and merged from the root on."""
    layers = []
    while name is not None:
        layers.append(load(source / f"{name}.yaml"))
        name = layers[-1].pop("extends", None)
    return merged(*reversed(layers))


def load(path: Path) -> DictConfig:
    """A file, which holds a mapping."""
    found = OmegaConf.load(path)
    assert isinstance(found, DictConfig)
    return found


def merged(*layers: DictConfig) -> DictConfig:
    """The layers as one; a later one wins."""
    found = OmegaConf.merge(*layers)
    assert isinstance(found, DictConfig)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
