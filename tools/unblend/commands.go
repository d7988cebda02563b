package main

// commands returns the table of the verbs, in the order of the list.
func commands() []*command {
	return []*command{
		initCommand(),
		serveCommand(),
		createCommand(),
		importCommand(),
		listCommand(),
		attachCommand(),
		detachCommand(),
		snapshotCommand(),
		cloneCommand(),
		diffCommand(),
		rollbackCommand(),
		renameCommand(),
		resizeCommand(),
		rmCommand(),
		growCommand(),
		statusCommand(),
		traceCommand(),
		scrubCommand(),
		checkCommand(),
		doctorCommand(),
		versionCommand(),
		helpCommand(),
		completeCommand(),
	}
}
