# The other kernel's half of the demo: receives.
set -eu
"$HANDFAST" demo --side receiver --at rdma://10.9.0.2:7471 --partner rdma://10.9.0.1:7471 --json
# Once more by addresses that every interface has: the device says which one is meant (RFC 4291, 2.5.6).
"$HANDFAST" demo --side receiver --at 'rdma://[fe80::5054:ff:fe00:2]:7472?device=rxe0' \
    --partner 'rdma://[fe80::5054:ff:fe00:1]:7472?device=rxe0' --json
