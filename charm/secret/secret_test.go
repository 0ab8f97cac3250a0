package secret_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github-runner/charm/secret"
)

func TestTextNeverPrintsItsValue(t *testing.T) {
	type holder struct {
		Token secret.Text
		inner secret.Text
	}
	h := holder{Token: secret.New("ghp_visible"), inner: secret.New("ghp_visible")}
	marshalled, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{"json": string(marshalled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, h)
		printed[verb+" pointer"] = fmt.Sprintf(verb, &h)
		printed[verb+" alone"] = fmt.Sprintf(verb, h.Token)
	}
	for how, text := range printed {
		if strings.Contains(text, "ghp_visible") || strings.Contains(text, fmt.Sprintf("%x", "ghp_visible")) {
			t.Errorf("%s prints the secret: %s", how, text)
		}
	}
}

func TestTextEqual(t *testing.T) {
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) {
		t.Error("Equal does not compare the values")
	}
	if !secret.New("").IsZero() || secret.New("a").IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestStoredIsInJSONAlone(t *testing.T) {
	kept := secret.Stored{Text: secret.New("ghp_visible")}
	marshalled, err := json.Marshal(kept)
	if err != nil || string(marshalled) != `"ghp_visible"` {
		t.Errorf("it is stored as %s, %v", marshalled, err)
	}
	var read secret.Stored
	if err := json.Unmarshal(marshalled, &read); err != nil || read.Reveal() != "ghp_visible" {
		t.Errorf("what was stored is not read back: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, printed := range []string{fmt.Sprintf(verb, kept), fmt.Sprintf(verb, struct{ Token secret.Stored }{kept})} {
			if strings.Contains(printed, "ghp_visible") {
				t.Errorf("%s prints the secret: %s", verb, printed)
			}
		}
	}
	if err := json.Unmarshal([]byte(`["ghp_visible"]`), &read); err == nil || strings.Contains(err.Error(), "ghp_visible") {
		t.Errorf("the error for what is no text: %v", err)
	}
}
