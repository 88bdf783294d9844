"""The code interpreter's sandbox: strangers' Python, stateful, on this machine, held by the kernel. Nothing of runs.

For others there are `LocalSandboxes`, which is `ports.Sandboxes`, its `SandboxLimits`, and `read_environment`, which
says whether a folder is an environment that the sandbox can run. Inside, from the outermost in:

- `opening.py`: which sandboxes a server has; `absent.py`: none; `building.py`, `profiles/`: the environment is made
- `remote.py`, `remote_session.py`: those of other machines; `daemon.py`: such a machine; `protocol.py`: what both say
- `local.py`: sessions by key, warm ones, room for others; `canary.py`, `diagnosis.py`: whether and why not
- `session.py`: calls, time, files; `call.py`: what a call says; `watchdog.py`: what it uses
- `bubble.py`: one running bubblewrap; `tree.py`: its processes; `cgroup.py`: where there may be one
- `plain.py`, `keeper.py`: no sandbox, where the operator asked for that
- `launcher.py`, `stage.py`: how it is started, and as whom; `arguments.py`: with which command line
- `folder.py`, `names.py`, `scratch.py`: /mnt/data seen from outside; `environment.py`: the Python that is run
- `runner.py`: runs inside, and is never imported here
"""

from understudy.sandbox.environment import Environment, read_environment
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes, sessions_that_fit

__all__ = ["Environment", "LocalSandboxes", "SandboxLimits", "read_environment", "sessions_that_fit"]
