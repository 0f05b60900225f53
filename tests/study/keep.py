"""What is committed of the study's runs: outputs/study_work to outputs/study.

    ``python -m tests.study.keep``

Of a training the weights without the optimiser's state, its curve and its settings; of an evaluation its rows. The
networks of seed 0 have no seed in their names: ``ckpt=study/denoise_adv``. ``outputs/study/README.md`` is their card."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import torch
import yaml

from invsmooth.core.checkpoints import BEST
from invsmooth.core.files import write_bytes, write_text
from tests.benchmarks.robustness_rows import copy
from tests.study.rows import CLAMPED, STAGES, STUDY
from tests.study.tables import markdown

WORK = Path("outputs/study_work")
WEIGHTS = ("state_dict", "hyper_parameters")


def keep_network(run: Path, out: Path) -> None:
    copy(run, out)
    if (run / "metrics.csv").is_file():
        shutil.copy(run / "metrics.csv", out / "metrics.csv")
    (out / BEST).parent.mkdir(exist_ok=True)
    content = torch.load(run / BEST, map_location="cpu", weights_only=True)
    saved = io.BytesIO()  # torch would write the name of a file into it
    torch.save({key: content[key] for key in WEIGHTS}, saved)
    write_bytes(out / BEST, saved.getvalue())


CARD = """# Networks of the study

What they are for, and what was found with them: [docs/study.md](../../docs/study.md).

```bash
python -m invsmooth.evaluate ckpt=study/denoise_smt_adv data=bsd68 data.root=MY_SETS
```

- **What**: the small networks of `task=denoise_small` (DPDNN) and `task=cs_small` (ISTA-Net++);
  `lmmse`: the linear estimator; `lipschitz`: LipNet, or NullSpace, with a proven constant.
  `cs_lipschitz` is 7 MB: a matrix of 1089 × m numbers for each of its five m/n.
- **Trained on** 380 images of Train400 (180×180, grey). Faces, text, medical images and other
  sensors are not in it. `config.yaml` in each folder has every setting, `metrics.csv` the curve.
- **Selection**: none; the weights are those after the last batch.
- **No proven Lipschitz constant**, but of `lmmse` and `lipschitz`. Certificates of the others are
  by smoothing.
- **For** research on robust reconstruction. **Not for** decisions about people, or diagnosis.
- **Licence** of the weights: that of this software. Of the images: see their sources.

Steps: of the optimiser, after the common start. Evaluations: passes of the network for each patch.

"""


def card(networks: list[Path]) -> str:
    lines = []
    for folder in networks:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        costs = ["–", "–", "–"]
        if config["algo"]["name"] != "fit":
            curve = pd.read_csv(folder / "metrics.csv")
            batches = config["task"]["n_patches"] // config["task"]["batch_size"]
            each = config["algo"]["t_step"] if config["algo"]["name"] == "smt_grad" else 1
            evals = curve["train/network_evals"].dropna().iloc[-1] * batches
            costs = [batches * each, f"{evals:g}", f"{curve['val/psnr'].dropna().iloc[-1]:.2f}"]
        sha256 = hashlib.sha256((folder / BEST).read_bytes()).hexdigest()
        lines.append([folder.name, record["parameters"], config["algo"]["name"], config["seed"], *costs, sha256[:16]])
    header = ["network", "parameters", "algorithm", "seed", "steps", "evaluations", "validation, dB", "SHA-256, start"]
    return markdown(header, lines)


def finished(run: Path) -> bool:
    return (run / "run.json").is_file() and json.loads((run / "run.json").read_text("utf-8"))["status"] == "finished"


def main() -> None:
    for run in sorted(WORK.iterdir()):
        if finished(run) and "_start_" not in run.name:
            keep_network(run, STUDY / run.name.removesuffix("_seed0"))
    write_text(STUDY / "README.md", CARD + card(sorted(f for f in STUDY.iterdir() if (f / BEST).is_file())))
    for stage in STAGES:
        for run in sorted((WORK / "rows" / stage).glob("*")):
            if finished(run):
                copy(run, STUDY / "rows" / stage / run.name)
    if (WORK / CLAMPED).is_file():
        shutil.copy(WORK / CLAMPED, STUDY / CLAMPED)


if __name__ == "__main__":
    main()
