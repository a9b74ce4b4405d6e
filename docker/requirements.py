"""Print the dependencies of the project and of some of its extras for pip, one a line.

python docker/requirements.py prepare,sweep > requirements.txt
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [extra for extra in sys.argv[1].split(",") if extra]
print(
    *project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra]), sep="\n"
)
