// Package lxd is the cloud on the unit's own machine: runners are containers or
// virtual machines of the LXD daemon there.
//
// Each unit has its own bridge, network ACL and profiles, named after the unit
// ("ghr-" and eight hexadecimal digits); the storage pool "github-runner" is
// shared by all units of the machine, unless a unit's storage is Juju's or
// memory. Nothing that belongs to the operator is edited.
//
// The truth about a runner is its instance's own configuration
// (user.github-runner.*) and its exchange folder, a small tmpfs that the guest
// writes to. Whatever comes out of that folder is hostile.
package lxd
