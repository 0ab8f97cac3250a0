package unit

import (
	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/unitdir"
)

// Kept is a credential as the unit's memory holds it.
func Kept(c state.Credential) unitdir.Credential {
	return unitdir.Credential{
		Token: secret.Stored{Text: c.Token},
		App: unitdir.App{
			ClientID:       c.App.ClientID,
			InstallationID: c.App.InstallationID,
			PrivateKey:     secret.Stored{Text: c.App.PrivateKey},
		},
	}
}

// Recalled is the credential that the unit's memory holds.
func Recalled(c unitdir.Credential) state.Credential {
	return state.Credential{
		Token: c.Token.Text,
		App:   state.App{ClientID: c.App.ClientID, InstallationID: c.App.InstallationID, PrivateKey: c.App.PrivateKey.Text},
	}
}
