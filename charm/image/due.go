package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Due says why an image should be made by a recipe now, whose base is filled in; ""
// where the one in use is as good as a new one. An image lives for about the given
// time: those of many machines do not get old together.
func Due(ctx context.Context, cloud Cloud, recipe Recipe, life time.Duration, now time.Time) (reason string, err error) {
	if recipe.Base, err = cloud.Stock(ctx); err != nil {
		return "", err
	}
	current, err := cloud.Current(ctx)
	if err != nil {
		return "", err
	}
	age := now.Sub(current.Made)
	switch {
	case current.Fingerprint == "":
		return "there is none yet", nil
	case current.Recipe == "":
		return "", nil // an operator's own, who knows what it is for
	case current.Base != recipe.Base:
		return "the stock image is another one", nil
	case current.RunnerVersion != recipe.Application.Version:
		return fmt.Sprintf("its runner application is %s, that of today is %s", current.RunnerVersion, recipe.Application.Version), nil
	case current.Recipe != recipe.Hash():
		return "what it is made of has changed", nil
	case life > 0 && age >= lifetime(current.Fingerprint, life):
		return fmt.Sprintf("it is %d days old", int(age.Hours()/24)), nil
	}
	return "", nil
}

// lifetime is up to a seventh less than the longest, the same for an image whenever
// it is asked for.
func lifetime(fingerprint string, longest time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(fingerprint))
	share := float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
	return longest - time.Duration(share*float64(longest)/7)
}
