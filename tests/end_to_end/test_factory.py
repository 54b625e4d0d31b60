"""A model of the user's own, named from the folder where the user stands."""

import subprocess
import sys
from pathlib import Path

SAFE_PATH = ["-P"] if sys.version_info >= (3, 11) else []
"""As the installed command starts: without the current folder on the path."""

MODULE = """
from torch import nn

def small():
    features = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8 * 225, 4))
"""


def test_factory_is_found_where_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODULE)
    program = "import sys; from toolchain.cli.main import main; sys.exit(main())"
    arguments = ["build", "--model", "my_models:small", "--target", "host", "--image-size", "32", "-o", "bundle"]
    environment = {"PYTHONPATH": str(Path.cwd()), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *SAFE_PATH, "-c", program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "manifest.json").is_file()
