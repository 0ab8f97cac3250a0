// Package guest reads, by SSH, what a runner leaves in its machine, where no folder
// is shared with it.
//
// A job can become root in its machine and put anything in the place of its SSH
// server, its shell and its files. So a guest must show the host key that it was
// given, runs one of two fixed commands, and whatever it answers is bounded in time
// and size and parsed strictly: the worst that a job can do is to lose what it left.
package guest
