#!/bin/sh
# Tests on a real OpenStack of the lab's own: that it comes up and goes, the
# session on one whose servers boot, and all others of the acceptance tests that run on
# one. Its last words are go test's.
set -eu
cd "$(dirname "$0")/.."
# A test that can't run on this machine is a failure here, not a skip.
export ACCEPTANCE_REAL="${ACCEPTANCE_REAL:-require}"
export ACCEPTANCE_OPENSTACK=every
tools/with-go.sh go vet -tags openstack ./lab ./acceptance
tools/with-go.sh go test -tags openstack -count=1 -timeout 30m -v -run '^TestRealOpenStack' ./lab
exec tools/with-go.sh go test -tags openstack -count=1 -timeout 120m -v -run '^Test(Guest|RealOpenStack)$' ./acceptance
