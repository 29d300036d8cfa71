package diag

// ID is a stable error id. Ids are never reused.
type ID string

// Exit codes of every forge command.
const (
	ExitClean       = 0
	ExitFailed      = 1   // forge could not do it; refused input
	ExitUsage       = 2   // wrong usage or invalid input file
	ExitFindings    = 3   // findings at or above --fail-on; a stale lock; a failed verification
	ExitUndecided   = 4   // nothing found, but something could not be checked
	ExitInterrupted = 130 // Ctrl-C
)

// Entry explains one error id; docs/errors.md is generated from the catalogue.
type Entry struct {
	ID      ID
	Title   string // a few words
	Meaning string // what happened and why forge stops, full sentences
	Next    string // what to do, full sentences
	Exit    int    // exit code of the process
}

// The ids. FE1 templates and usage, FE2 archives and packages, FE3 lock, FE4 build
// and engine, FE5 evidence, FE6 registry, FE7 this machine.
const (
	Usage            ID = "FE101"
	InvalidTemplate  ID = "FE102"
	UnknownTemplate  ID = "FE103"
	NoMirror         ID = "FE201"
	Transport        ID = "FE202"
	BadSignature     ID = "FE203"
	ReleaseExpired   ID = "FE204"
	ReleaseRollback  ID = "FE205"
	HashMismatch     ID = "FE206"
	MalformedIndex   ID = "FE207"
	Unresolvable     ID = "FE208"
	ChooseOne        ID = "FE209"
	PackageGone      ID = "FE210"
	MalformedPackage ID = "FE211"
	UnknownScript    ID = "FE212"
	FileConflict     ID = "FE213"
	ReleaseChanged   ID = "FE214"
	WeakAlgorithm    ID = "FE215"
	TooLarge         ID = "FE216"
	MissingMerge     ID = "FE217"
	LockMissing      ID = "FE301"
	LockStale        ID = "FE302"
	LockMalformed    ID = "FE303"
	LockUnchained    ID = "FE304"
	LockVersion      ID = "FE305"
	EngineStart      ID = "FE401"
	EngineRootless   ID = "FE402"
	EngineConnect    ID = "FE403"
	BuildFailed      ID = "FE404"
	DigestDiffers    ID = "FE405"
	OutputInvalid    ID = "FE406"
	LayerDiffers     ID = "FE407"
	KeyInvalid       ID = "FE501"
	KeyPassword      ID = "FE502"
	NoSignature      ID = "FE503"
	SignatureWrong   ID = "FE504"
	EvidenceMissing  ID = "FE505"
	SBOMDiffers      ID = "FE506"
	RegistryAuth     ID = "FE601"
	RegistryFault    ID = "FE602"
	RegistryRefused  ID = "FE603"
	ReferenceInvalid ID = "FE604"
	ImageNotFound    ID = "FE605"
	Disk             ID = "FE701"
	Busy             ID = "FE702"
)

// Lookup finds the entry of an id; an unknown id gives a zero Entry with that id.
func Lookup(id ID) Entry {
	for _, e := range Catalogue {
		if e.ID == id {
			return e
		}
	}
	return Entry{ID: id, Exit: ExitFailed}
}

// Catalogue lists every error id in order.
var Catalogue = []Entry{
	{Usage, "Wrong usage", "The command line is not one that forge understands.", "See `forge help COMMAND`.", ExitUsage},
	{InvalidTemplate, "Invalid template", "The templates have faults. Each is listed with its place, cause and mend.", "Mend the listed lines, then run `forge validate`.", ExitUsage},
	{UnknownTemplate, "Unknown template", "No template of that name is in the directory.", "List the names with `forge validate`.", ExitUsage},
	{NoMirror, "No mirror for an archive", "A mirror's address is found when forge runs: from FORGE_DEB_MIRROR, the user's configuration, the template's `url`, or this machine's apt sources. None of them names this archive.", "Set FORGE_DEB_MIRROR=\"NAME=URL\".", ExitFailed},
	{Transport, "Download failed", "A server could not be reached, answered with an error, or stalled, and retries did not help. Nothing on disk has changed.", "Check the address and the network, then run the command again; finished downloads are kept.", ExitFailed},
	{BadSignature, "Archive signature not accepted", "The release file is not signed by a key of the template's keyring, or its signed envelope is malformed. Nothing from it was used.", "Compare the archive's published key fingerprints with the keyring in the template.", ExitFailed},
	{ReleaseExpired, "Release file too old or not yet valid", "The release file's Valid-Until has passed, its Date lies in the future, or it is older than the archive's max_age. A frozen mirror hides security updates.", "Use another mirror, or set `as_of` in the archive block to resolve it as of a recorded day.", ExitFailed},
	{ReleaseRollback, "Release file older than the locked one", "The mirror serves an older release than the lock was made from.", "Use another mirror, or wait until this one has caught up.", ExitFailed},
	{HashMismatch, "Hash or size differs", "A downloaded file is not the one that the signed index or the lock names.", "Run the command again; if it stays, the mirror is broken or hostile: use another.", ExitFailed},
	{MalformedIndex, "Malformed index", "A release or package index does not follow its format.", "Use another mirror and report the archive's fault to its owner.", ExitFailed},
	{Unresolvable, "Packages cannot be resolved", "The requested packages cannot be installed together from these archives. The failing chain is shown.", "Change `install`, add the archive that has the missing package, or exclude a dependency with its reason.", ExitFailed},
	{ChooseOne, "Choose one provider", "Several packages satisfy a dependency equally well, and apt would pick by the internal order of its cache.", "Add the one you want to `install`.", ExitFailed},
	{PackageGone, "Package no longer in the archive", "The locked package is not in the pool any more, and the snapshot service did not have it.", "Run `forge lock --update` to move to what the archive has now.", ExitFailed},
	{MalformedPackage, "Malformed package", "A package file breaks its format or tries something no Debian package does (paths outside the root, devices, bombs). It was refused.", "Do not use this archive until its owner has explained the package.", ExitFailed},
	{UnknownScript, "Maintainer script without a record", "Maintainer scripts never run. What a script would do must be stated in a script-effect record pinned by the script's digest; this one has none.", "Review the listed commands and add the printed `script` block to the template directory.", ExitFailed},
	{FileConflict, "Two packages own one file", "Two packages ship the same path and neither says that it replaces the other.", "Install only one of them.", ExitFailed},
	{ReleaseChanged, "The archive changed its identity", "Suite, codename, origin or label of the release differ from the locked ones.", "If that is expected, accept it with `forge lock --update --accept-identity`.", ExitFailed},
	{WeakAlgorithm, "Weak algorithm", "A signature or hash uses an algorithm that no longer protects (MD5, SHA-1, RSA below 2048 bits).", "Ask the archive's owner for SHA-256 hashes and a current key.", ExitFailed},
	{TooLarge, "Input larger than allowed", "An input is larger than the bound that protects this machine.", "Check where the input comes from.", ExitFailed},
	{MissingMerge, "No /lib64 in the image", "The image has dynamic programs but not the usr-merge links that their loader path needs.", "Add \"base-files\" to `install`.", ExitFailed},
	{LockMissing, "No lock", "The directory has templates but no forge.lock.json, or the lock lacks this template or platform.", "Run `forge lock`.", ExitFindings},
	{LockStale, "Stale lock", "The templates ask for something else than the lock pins.", "Run `forge lock` and review the change.", ExitFindings},
	{LockMalformed, "Malformed lock", "forge.lock.json is not a lock that forge wrote.", "Restore it from version control, or delete it and run `forge lock`.", ExitUsage},
	{LockUnchained, "Locked package chains to no signed index", "A line of the lock is not what any signed index of the archive says.", "Find out who changed the line; `forge lock --update` resolves anew and shows the difference.", ExitFailed},
	{LockVersion, "Lock of another forge", "The lock needs a layout or format that this forge does not build.", "Use the forge that wrote it, or run `forge lock` with this one.", ExitFindings},
	{EngineStart, "The embedded engine did not start", "BuildKit inside forge could not be started.", "See `forge engine status`; the log's last lines are shown.", ExitFailed},
	{EngineRootless, "Rootless engine not possible here", "Without root, the engine needs user namespaces, newuidmap and 65,536 subordinate ids.", "Install `uidmap`, add ids with `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, or use --engine.", ExitFailed},
	{EngineConnect, "Engine not reachable", "The BuildKit engine at the given address does not answer.", "Check --engine or BUILDKIT_HOST; without them forge uses its embedded engine.", ExitFailed},
	{BuildFailed, "Build failed", "BuildKit could not carry out the build.", "The engine's message is shown above.", ExitFailed},
	{DigestDiffers, "Digest differs from the lock", "The build gave other bytes than the lock expects. Nothing was published.", "The first differing layer and file are named; compare forge and engine versions, then run `forge lock --record` if the change is wanted.", ExitFindings},
	{OutputInvalid, "Output cannot be written there", "The output path exists and is not an OCI layout, or cannot be replaced.", "Choose another -o.", ExitUsage},
	{LayerDiffers, "Layer is not what its inputs give", "A layer holds a file that neither the locked packages nor the template give, lacks one, or has it otherwise. The engine, or the cache, cannot be trusted. Nothing was signed or published.", "Find out who changed the engine; remove `layers` from the cache directory and use another engine.", ExitFailed},
	{KeyInvalid, "Key not usable", "The key file cannot be read as a cosign or PEM key.", "Make a pair with `forge keys generate`.", ExitUsage},
	{KeyPassword, "Wrong key password", "The private key could not be decrypted.", "Set COSIGN_PASSWORD or type the password at the prompt.", ExitUsage},
	{NoSignature, "No signature", "The image has no signature.", "Publish it with `forge publish`, or check the reference.", ExitFindings},
	{SignatureWrong, "Signature not accepted", "No signature on the image verifies under the given key.", "Check that --key is the publisher's public key.", ExitFindings},
	{EvidenceMissing, "Evidence missing or wrong", "A statement that must be attached to the image is missing, of another type, or about another image.", "Publish the image again with `forge publish`.", ExitFindings},
	{SBOMDiffers, "SBOM differs from the image", "The signed SBOM does not name exactly the packages that the image holds.", "Do not use the image; publish it again.", ExitFindings},
	{RegistryAuth, "Registry refused the credentials", "The registry answered 401 or 403.", "Log in with `docker login HOST` (or podman, crane) and run the command again.", ExitFailed},
	{RegistryFault, "Registry fault", "The registry could not be reached or answered with an error, and retries did not help.", "Run the command again; what was pushed is found again.", ExitFailed},
	{RegistryRefused, "Registry answer refused", "The registry's answer contradicts itself: another digest, size or type than asked for.", "Do not trust this registry; check for a proxy in between.", ExitFailed},
	{ReferenceInvalid, "Invalid image reference", "The text is not a registry reference.", "Write HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST.", ExitUsage},
	{ImageNotFound, "Image not found", "The registry has no image of that name.", "Check the reference.", ExitFailed},
	{Disk, "Disk fault", "A file could not be written or read. What was there before is unchanged.", "Free space or mend permissions, then run the command again.", ExitFailed},
	{Busy, "Another forge is at work", "Another forge process holds the lock on this directory.", "Wait for it to finish.", ExitFailed},
}
