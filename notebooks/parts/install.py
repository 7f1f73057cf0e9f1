# %%
# Colab and Kaggle: install the kit. In a checkout, and where a kernel carries the kit, this does nothing.
import importlib
import importlib.util
import subprocess
import sys

KIT = "dogbreed-kit$extra @ git+$url@$tag"
if importlib.util.find_spec("baselines") is None:
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", KIT]).returncode:
        raise SystemExit(f"{KIT} could not be installed: is the internet on? (Kaggle: Settings, Internet)")
    importlib.invalidate_caches()
