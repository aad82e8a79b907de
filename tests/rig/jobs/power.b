# The other kernel's half of the demo: receives.
set -eu
"$HANDFAST" demo --side receiver --at rdma://10.9.0.2:7471 --partner rdma://10.9.0.1:7471 --json
