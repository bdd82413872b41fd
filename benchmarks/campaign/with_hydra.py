"""Compose every configuration of a folder with Hydra and write each as YAML: `with_hydra.py FROM TO`."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf


def main(source: Path, target: Path) -> None:
    """Compose and write all of them in one initialised process."""
    with initialize_config_dir(config_dir=str(source.resolve()), version_base="1.3"):
        for path in sorted(source.glob("*.yaml")):
            (target / path.name).write_text(OmegaConf.to_yaml(compose(config_name=path.stem), resolve=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
