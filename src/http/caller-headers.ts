/** What a tool says of itself, in headers: its name, which is whose what it makes is together with its user, and who runs scripts. */
export const OWNER_HEADER = 'mdevkit-owner'

/** The header in which a tool says that it runs mdevctl's scripts around its requests: with this value. */
export const SCRIPTS_HEADER = 'mdevkit-scripts'
export const SCRIPTS_BY_CALLER = 'by-caller'
