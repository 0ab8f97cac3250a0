// Package image makes runner images: stock images of Ubuntu with what jobs expect
// and the runner application in them, so that a runner neither installs nor
// downloads anything before it is online. There is one recipe for all clouds: a
// machine that makes itself into an image, and one that shows that the image works.
package image
