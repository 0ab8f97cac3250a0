// Package takeover ends what the Python charm of July 2024 left on the machine of
// a unit that was refreshed from it: its runners, its services and its files.
//
// That charm knew its runners by their names alone, "<application>-<unit>-<24 hex
// digits>", and shared most of what it made with every unit of it on the machine.
// What is another unit's, or may be, stays.
//
// Nothing here is needed once no unit of that charm is left to be refreshed: with
// this package, charm/lxd/takeover.go and charm/former.go it can go.
package takeover
