// Package acceptance proves the product as an operator sees it: each file in
// testdata is a terminal session with the lab, run from deployment to removal.
//
// Every file runs in a lab of its own on the emulated cloud; one whose first
// line has the tag [real] runs on a real LXD as well, where one can run, one with
// [openstack] on an emulated OpenStack as well, one with [openstack-emulated] too, to
// which it gives orders or more work than a real one here does, and one with [openstack-only] there alone. Those with
// [openstack-real] run on a real OpenStack as well, where one can run;
// ACCEPTANCE_OPENSTACK=every has all with [openstack] do so. One with [guest] runs, with
// the build tag openstack, on a real OpenStack whose servers boot. With the tag [hooks]
// the resident agent is switched off: what hooks and actions do alone comes at a time of
// the session's choice. Lines that begin with [real], [emulated], [lxd] or [openstack]
// are for such clouds. The commands of a session are those of testscript, and
//
//	lab …          bin/lab
//	juju …         bin/lab juju
//	wait-until REGEXP COMMAND…
//	               repeat COMMAND until its output matches, for a minute
//	               at most; ! waits until it matches no more. Groups that have
//	               a name, such as (?P<busy>\S+), become variables.
//	distinct N REGEXP
//	               fail unless the last output has N different matches
//	took DURATION  fail unless the last command took that long; ! if it did
//	same A B       fail unless both words are equal; ! unless they differ
//	policy-service start|away|back
//	               run a policy service outside of the unit, which is good for the
//	               owner acme: it sets $POLICY_URL and $POLICY_TOKEN. While it is
//	               away it answers 503
//	needs-root WHY leave the session out where the tests run without root
//
// $CLOUD_CONFIG is a file for "juju deploy --config" with the options that the charm
// needs on the lab's cloud.
//
// All sessions on a real OpenStack share one, which comes up for them, or is that of the
// lab in the directory that ACCEPTANCE_OPENSTACK_LAB names.
//
// ACCEPTANCE_KILLS is how often the session "kills" kills each of what it kills, 2
// unless it is set. ACCEPTANCE_BIN names a folder with lab and github-runner_<arch>.charm that
// are to be tested; without it both are built. ACCEPTANCE_REAL=require makes it
// a failure that no real LXD can run, as it does with whatever else can't be tested
// on a machine (package lab/skip).
package acceptance
