"""Prints the peak of resident memory of the process that runs this, in bytes.

Linux counts it since the program was started; `getrusage` there counts the memory of the process that started it, too.
"""

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
if STATUS.exists():
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))[0]) * 1024)
else:
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
