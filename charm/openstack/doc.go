// Package openstack is the cloud whose runners are servers of an OpenStack project.
//
// The truth about a runner is its server: its name, its metadata
// (github-runner.*) and its status. One list shows all of them, whatever their
// number; nothing is asked of each. A unit has one thing of its own beside its
// servers, a security group, which is named after the unit and says whose it is.
// Nothing that belongs to anybody else in the project is touched.
//
// What OpenStack says of a refusal may hold what it was sent, user-data with
// credentials included: it is cut before it becomes an error.
package openstack
