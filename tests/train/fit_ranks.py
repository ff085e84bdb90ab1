"""One rank of several: trains the runs given on the command line one after another. Started by `ranks_world`."""

import os
import sys

from fuxi_ens.config import load_config
from fuxi_ens.errors import ExitCode, Stopped, UserError
from fuxi_ens.train.loop import fit
from fuxi_ens.train.signals import stop_request

if __name__ == "__main__":
    first_port, code = int(os.environ["MASTER_PORT"]), ExitCode.DONE
    with stop_request.listening():
        for i, path in enumerate(sys.argv[1:]):
            os.environ["MASTER_PORT"] = str(first_port + i)
            try:
                fit(load_config(path))
            except UserError as error:
                sys.stderr.write(f"refused {path}: {error}\n")
                code = ExitCode.USER_ERROR
            except Stopped as stop:
                sys.stderr.write(f"{stop}\n")
                code = ExitCode.STOPPED
    sys.stdout.flush()
    sys.stderr.flush()
    # gloo's threads may outlive Python's shutdown.
    os._exit(code)
