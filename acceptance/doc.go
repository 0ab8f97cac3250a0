// Package acceptance proves the product as an operator sees it: each file in
// testdata is a terminal session with the lab, run from deployment to removal.
//
// Every file runs in a lab of its own on the emulated cloud; one whose first
// line has the tag [real] runs on a real LXD as well, where one can run. With the
// tag [hooks] the resident agent is switched off there: what hooks and actions do
// alone comes at a time of the session's choice. The commands of a session are
// those of testscript, and
//
//	lab …          bin/lab
//	juju …         bin/lab juju
//	wait-until REGEXP COMMAND…
//	               repeat COMMAND until its output matches, for 20 s at most;
//	               ! waits until it matches no more. Groups that have a name,
//	               such as (?P<busy>\S+), become variables.
//	distinct N REGEXP
//	               fail unless the last output has N different matches
//	took DURATION  fail unless the last command took that long; ! if it did
//	same A B       fail unless both words are equal; ! unless they differ
//	needs-root WHY leave the session out where the tests run without root
//
// ACCEPTANCE_KILLS is how often the session "kills" kills each of what it kills, 2
// unless it is set. ACCEPTANCE_BIN names a folder with lab and github-runner_<arch>.charm that
// are to be tested; without it both are built. ACCEPTANCE_REAL=require makes it
// a failure that no real LXD can run, as it does with whatever else can't be tested
// on a machine (package lab/skip).
package acceptance
